noinst_LIBRARIES += src/steering/libsteering.a
src_steering_libsteering_a_CFLAGS = $(AM_CFLAGS) $(LIBEVENT_CFLAGS) $(MNL_CFLAGS) $(CONNTRACK_CFLAGS)
src_steering_libsteering_a_SOURCES = \
	include/portald/steering.h \
	src/steering/attempt.c \
	src/steering/attempt.h \
	src/steering/backend.h \
	src/steering/bisect.c \
	src/steering/bisect.h \
	src/steering/conntrack.c \
	src/steering/conntrack.h \
	src/steering/conntrack_index.c \
	src/steering/host.c \
	src/steering/host.h \
	src/steering/iptables.c \
	src/steering/iptables_backend.c \
	src/steering/iptables_change.c \
	src/steering/iptables_private.h \
	src/steering/iptables_rule.c \
	src/steering/left.c \
	src/steering/left.h \
	src/steering/lines.c \
	src/steering/lines.h \
	src/steering/local.c \
	src/steering/monitor.c \
	src/steering/monitor.h \
	src/steering/nftables.c \
	src/steering/nftables.h \
	src/steering/nftables_backend.c \
	src/steering/nftables_list.c \
	src/steering/nftables_map.c \
	src/steering/pace.c \
	src/steering/pace.h \
	src/steering/route.c \
	src/steering/route.h \
	src/steering/route_monitor.c \
	src/steering/rules.c \
	src/steering/rules.h \
	src/steering/saved.c \
	src/steering/steering.c \
	src/steering/sync.c \
	src/steering/sync.h \
	src/steering/text.c \
	src/steering/text.h \
	src/steering/tool.c \
	src/steering/tool.h
