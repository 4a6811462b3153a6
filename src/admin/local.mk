noinst_LIBRARIES += src/admin/libadmin.a
src_admin_libadmin_a_SOURCES = \
	include/portald/admin.h \
	src/admin/health_check.c
