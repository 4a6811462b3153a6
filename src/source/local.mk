noinst_LIBRARIES += src/source/libsource.a
src_source_libsource_a_CFLAGS = $(AM_CFLAGS) $(YAML_CFLAGS) $(YAJL_CFLAGS)
src_source_libsource_a_SOURCES = \
	include/portald/files.h \
	include/portald/kubeconfig.h \
	include/portald/source.h \
	src/source/build.c \
	src/source/claim.c \
	src/source/decode.c \
	src/source/decode.h \
	src/source/decode_endpoints.c \
	src/source/decode_parts.c \
	src/source/decode_pod.c \
	src/source/decode_service.c \
	src/source/derive.c \
	src/source/doc.c \
	src/source/doc.h \
	src/source/doc_json.c \
	src/source/doc_read.c \
	src/source/doc_scalar.c \
	src/source/doc_yaml.c \
	src/source/files.c \
	src/source/finding.c \
	src/source/finding.h \
	src/source/kubeconfig.c \
	src/source/kubeconfig.h \
	src/source/kubeconfig_cluster.c \
	src/source/kubeconfig_exec.c \
	src/source/kubeconfig_fields.c \
	src/source/kubeconfig_pem.c \
	src/source/kubeconfig_user.c \
	src/source/names.c \
	src/source/names.h \
	src/source/schema.c \
	src/source/schema.h \
	src/source/schema_tables.c \
	src/source/set.c \
	src/source/set.h \
	src/source/source.c
