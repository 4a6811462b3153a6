# Unit tests of the module model: programs are added to check_PROGRAMS.
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_model
tests_unit_test_model_SOURCES = tests/unit/test_model.c
tests_unit_test_model_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_model_LDADD = src/model/libmodel.a src/base/libbase.a $(CMOCKA_LIBS)
endif
