noinst_LIBRARIES += src/admin/libadmin.a
src_admin_libadmin_a_SOURCES = \
	include/portald/admin.h \
	src/admin/admin.c \
	src/admin/admin_private.h \
	src/admin/counts.c \
	src/admin/face.c \
	src/admin/health.c \
	src/admin/health_check.c \
	src/admin/histogram.c \
	src/admin/histogram.h \
	src/admin/metrics.c \
	src/admin/metrics_process.c \
	src/admin/metrics_service.c \
	src/admin/server.c \
	src/admin/text.c \
	src/admin/text.h \
	src/admin/trigger.c
