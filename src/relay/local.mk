noinst_LIBRARIES += src/relay/librelay.a
src_relay_librelay_a_SOURCES = \
	include/portald/relay.h \
	src/relay/accept.c \
	src/relay/access.c \
	src/relay/access.h \
	src/relay/backends.c \
	src/relay/conn.c \
	src/relay/core.h \
	src/relay/dial.c \
	src/relay/drain.c \
	src/relay/listener.c \
	src/relay/loop.c \
	src/relay/pick.c \
	src/relay/pick.h \
	src/relay/pipes.c \
	src/relay/pipes.h \
	src/relay/portal.c \
	src/relay/portal.h \
	src/relay/proxy.c \
	src/relay/proxy.h \
	src/relay/pump.c \
	src/relay/queue.c \
	src/relay/relay.c \
	src/relay/schedule.c \
	src/relay/schedule.h \
	src/relay/slab.c \
	src/relay/slab.h \
	src/relay/timers.c \
	src/relay/timers.h \
	src/relay/udp.c \
	src/relay/udp.h \
	src/relay/udp_flow.c \
	src/relay/udp_msg.c \
	src/relay/udp_queue.c \
	src/relay/udp_table.c
