noinst_LIBRARIES += src/plan/libplan.a
src_plan_libplan_a_SOURCES = \
	include/portald/plan.h \
	src/plan/listener.c \
	src/plan/plan.c \
	src/plan/plan_private.h
