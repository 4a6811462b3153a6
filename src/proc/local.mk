noinst_LIBRARIES += src/proc/libproc.a
src_proc_libproc_a_SOURCES = \
	include/portald/proc.h \
	src/proc/access_log.c \
	src/proc/access_log.h \
	src/proc/addresses.c \
	src/proc/addresses.h \
	src/proc/bindings.c \
	src/proc/bindings.h \
	src/proc/children.c \
	src/proc/children.h \
	src/proc/claims.c \
	src/proc/claims.h \
	src/proc/command.c \
	src/proc/command.h \
	src/proc/config_fields.c \
	src/proc/config_fields.h \
	src/proc/config_load.c \
	src/proc/config_load.h \
	src/proc/confine.c \
	src/proc/confine.h \
	src/proc/conntrack_sysctls.c \
	src/proc/conntrack_sysctls.h \
	src/proc/control.c \
	src/proc/control.h \
	src/proc/feed.c \
	src/proc/feed.h \
	src/proc/feed_api.c \
	src/proc/feed_files.c \
	src/proc/flags.h \
	src/proc/flags_admin.c \
	src/proc/flags_config.c \
	src/proc/flags_conntrack.c \
	src/proc/flags_ignored.c \
	src/proc/flags_process.c \
	src/proc/flags_service.c \
	src/proc/flags_source.c \
	src/proc/flags_steering.c \
	src/proc/help.c \
	src/proc/host.c \
	src/proc/host.h \
	src/proc/link.c \
	src/proc/link.h \
	src/proc/manifests.c \
	src/proc/manifests.h \
	src/proc/namespace.c \
	src/proc/namespace.h \
	src/proc/notify.c \
	src/proc/notify.h \
	src/proc/options.c \
	src/proc/options.h \
	src/proc/opener.c \
	src/proc/opener.h \
	src/proc/permits.c \
	src/proc/permits.h \
	src/proc/ports.c \
	src/proc/ports.h \
	src/proc/proc.c \
	src/proc/records.c \
	src/proc/records.h \
	src/proc/report.c \
	src/proc/report.h \
	src/proc/settings.c \
	src/proc/settings.h \
	src/proc/show.c \
	src/proc/show.h \
	src/proc/slots.c \
	src/proc/slots.h \
	src/proc/starter.c \
	src/proc/starter.h \
	src/proc/status.c \
	src/proc/status.h \
	src/proc/status_client.c \
	src/proc/status_json.c \
	src/proc/status_socket.c \
	src/proc/status_table.c \
	src/proc/supervisor.c \
	src/proc/supervisor.h \
	src/proc/table.c \
	src/proc/table.h \
	src/proc/tell.c \
	src/proc/tell.h \
	src/proc/title.c \
	src/proc/title.h \
	src/proc/value.c \
	src/proc/value.h \
	src/proc/vitals.c \
	src/proc/vitals.h \
	src/proc/words.c \
	src/proc/words.h

# Everything but main.c, most dependent first: for the daemon and the tests of proc.
PORTALD_LIBS = \
	src/proc/libproc.a \
	src/api/libapi.a \
	src/source/libsource.a \
	src/admin/libadmin.a \
	src/steering/libsteering.a \
	src/listen/liblisten.a \
	src/relay/librelay.a \
	src/ipc/libipc.a \
	src/plan/libplan.a \
	src/model/libmodel.a \
	src/stats/libstats.a \
	src/base/libbase.a \
	$(LIBCURL_LIBS) \
	$(LIBEVENT_LIBS) \
	$(YAJL_LIBS) \
	$(YAML_LIBS) \
	$(SECCOMP_LIBS) \
	$(CAPNG_LIBS) \
	$(CONNTRACK_LIBS) \
	$(MNL_LIBS)

sbin_PROGRAMS += portald
portald_SOURCES = src/main.c
portald_LDADD = $(PORTALD_LIBS)
