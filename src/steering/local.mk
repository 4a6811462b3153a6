noinst_LIBRARIES += src/steering/libsteering.a
src_steering_libsteering_a_SOURCES = \
	include/portald/steering.h \
	src/steering/steering.c
