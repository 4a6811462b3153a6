noinst_LIBRARIES += src/model/libmodel.a
src_model_libmodel_a_SOURCES = \
	include/portald/model.h \
	src/model/equal.c \
	src/model/model.c \
	src/model/snapshot.c
