# Unit tests of kubeconfigs; and the client against a fake API server over real TLS (tests/api, pytest), by a tool
# that links it.
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_kubeconfig
tests_unit_test_kubeconfig_SOURCES = tests/unit/test_kubeconfig.c
tests_unit_test_kubeconfig_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_kubeconfig_LDADD = src/source/libsource.a src/model/libmodel.a src/base/libbase.a $(YAML_LIBS) \
	$(YAJL_LIBS) $(CMOCKA_LIBS)
endif

noinst_PROGRAMS += tests/tools/apiget
tests_tools_apiget_SOURCES = tests/tools/apiget.c
tests_tools_apiget_LDADD = src/api/libapi.a src/source/libsource.a src/model/libmodel.a src/base/libbase.a \
	$(LIBCURL_LIBS) $(LIBEVENT_LIBS) $(YAML_LIBS) $(YAJL_LIBS)

TESTS += tests/api/test_apiclient.py tests/api/test_cluster.py tests/api/test_daemon.py
EXTRA_DIST += \
	tests/api/api_daemon.py \
	tests/api/test_apiclient.py \
	tests/api/test_cluster.py \
	tests/api/test_daemon.py \
	tests/tools/fake_apiserver.py \
	tests/tools/fake_pki.py \
	tests/tools/fake_store.py
