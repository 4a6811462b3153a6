noinst_LIBRARIES += src/ipc/libipc.a
src_ipc_libipc_a_SOURCES = \
	include/portald/ipc.h \
	src/ipc/cursor.c \
	src/ipc/cursor.h \
	src/ipc/frame.c \
	src/ipc/message_proc.c \
	src/ipc/message_relay.c \
	src/ipc/message_state.c \
	src/ipc/message_sync.c \
	src/ipc/message_upgrade.c \
	src/ipc/options.c \
	src/ipc/types.c \
	src/ipc/types.h
dist_doc_DATA += doc/IPC.md
