noinst_LIBRARIES += src/plan/libplan.a
src_plan_libplan_a_SOURCES = \
	include/portald/plan.h \
	src/plan/plan.c
