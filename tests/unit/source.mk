# Unit tests of the module source: programs are added to check_PROGRAMS.
if HAVE_CMOCKA
source_tests = \
	tests/unit/test_source_annotations \
	tests/unit/test_source_doc \
	tests/unit/test_source_endpoints \
	tests/unit/test_source_files \
	tests/unit/test_source_service \
	tests/unit/test_source_topology \
	tests/unit/test_watch
check_PROGRAMS += $(source_tests)
source_test_libs = src/source/libsource.a src/model/libmodel.a src/base/libbase.a $(YAML_LIBS) $(YAJL_LIBS) \
	$(CMOCKA_LIBS)
source_test_cflags = $(AM_CFLAGS) $(CMOCKA_CFLAGS)

tests_unit_test_source_annotations_SOURCES = \
	tests/unit/source_util.c \
	tests/unit/source_util.h \
	tests/unit/test_source_annotations.c
tests_unit_test_source_annotations_CFLAGS = $(source_test_cflags)
tests_unit_test_source_annotations_LDADD = $(source_test_libs)

tests_unit_test_source_doc_SOURCES = tests/unit/test_source_doc.c
tests_unit_test_source_doc_CFLAGS = $(source_test_cflags)
tests_unit_test_source_doc_LDADD = $(source_test_libs)

tests_unit_test_source_endpoints_SOURCES = \
	tests/unit/source_util.c \
	tests/unit/source_util.h \
	tests/unit/test_source_endpoints.c
tests_unit_test_source_endpoints_CFLAGS = $(source_test_cflags)
tests_unit_test_source_endpoints_LDADD = $(source_test_libs)

tests_unit_test_source_files_SOURCES = tests/unit/test_source_files.c
tests_unit_test_source_files_CFLAGS = $(source_test_cflags)
tests_unit_test_source_files_LDADD = $(source_test_libs)

tests_unit_test_source_service_SOURCES = \
	tests/unit/source_util.c \
	tests/unit/source_util.h \
	tests/unit/test_source_service.c
tests_unit_test_source_service_CFLAGS = $(source_test_cflags)
tests_unit_test_source_service_LDADD = $(source_test_libs)

tests_unit_test_source_topology_SOURCES = \
	tests/unit/source_util.c \
	tests/unit/source_util.h \
	tests/unit/test_source_topology.c
tests_unit_test_source_topology_CFLAGS = $(source_test_cflags)
tests_unit_test_source_topology_LDADD = $(source_test_libs)

tests_unit_test_watch_SOURCES = tests/unit/test_watch.c
tests_unit_test_watch_CFLAGS = $(source_test_cflags)
tests_unit_test_watch_LDADD = $(source_test_libs)
endif
EXTRA_DIST += \
	tests/unit/manifests/dump.yaml \
	tests/unit/manifests/mistakes.expected \
	tests/unit/manifests/mistakes.yaml \
	tests/unit/manifests/recorded/endpoints-list.json \
	tests/unit/manifests/recorded/endpointslices-v1beta1-list.json \
	tests/unit/manifests/recorded/pods-list.json \
	tests/unit/manifests/recorded/services-list.json \
	doc/examples/nodeport.yaml \
	doc/examples/redis.yaml \
	doc/examples/web.yaml
