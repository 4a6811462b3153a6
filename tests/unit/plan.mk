# Unit tests of the module plan: programs are added to check_PROGRAMS.
# PORTALD_UPDATE_GOLDEN=1 make check rewrites the golden files.
EXTRA_DIST += \
	tests/unit/golden/plan-empty.json \
	tests/unit/golden/plan-empty.txt \
	tests/unit/golden/plan-empty.yaml \
	tests/unit/golden/plan.json \
	tests/unit/golden/plan.txt \
	tests/unit/golden/plan.yaml
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_plan tests/unit/test_plan_book tests/unit/test_plan_choice
plan_test_libs = src/plan/libplan.a src/model/libmodel.a src/base/libbase.a $(YAJL_LIBS) $(YAML_LIBS) \
	$(CMOCKA_LIBS)

tests_unit_test_plan_SOURCES = tests/unit/plan_sample.c tests/unit/plan_sample.h tests/unit/test_plan.c
tests_unit_test_plan_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_plan_LDADD = $(plan_test_libs)

tests_unit_test_plan_book_SOURCES = \
	tests/unit/plan_sample.c \
	tests/unit/plan_sample.h \
	tests/unit/test_plan_book.c
tests_unit_test_plan_book_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_plan_book_LDADD = $(plan_test_libs)

tests_unit_test_plan_choice_SOURCES = \
	tests/unit/plan_sample.c \
	tests/unit/plan_sample.h \
	tests/unit/test_plan_choice.c
tests_unit_test_plan_choice_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_plan_choice_LDADD = $(plan_test_libs)
endif
