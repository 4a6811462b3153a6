noinst_LIBRARIES += src/plan/libplan.a
src_plan_libplan_a_CFLAGS = $(AM_CFLAGS) $(YAJL_CFLAGS) $(YAML_CFLAGS)
src_plan_libplan_a_SOURCES = \
	include/portald/plan.h \
	include/portald/plan_book.h \
	src/plan/book.c \
	src/plan/build.c \
	src/plan/candidates.c \
	src/plan/conflict.c \
	src/plan/endpoints.c \
	src/plan/listener.c \
	src/plan/plan.c \
	src/plan/plan_private.h \
	src/plan/print_table.c \
	src/plan/print_text.c \
	src/plan/print_text.h \
	src/plan/print_tree.c \
	src/plan/service.c \
	src/plan/topology.c
