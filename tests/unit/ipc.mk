# Unit tests of the module ipc: programs are added to check_PROGRAMS.
if HAVE_CMOCKA
check_PROGRAMS += tests/unit/test_ipc_frame tests/unit/test_ipc_message
tests_unit_test_ipc_frame_SOURCES = tests/unit/test_ipc_frame.c
tests_unit_test_ipc_frame_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_ipc_frame_LDADD = src/ipc/libipc.a src/plan/libplan.a src/model/libmodel.a src/base/libbase.a \
	$(CMOCKA_LIBS)
tests_unit_test_ipc_message_SOURCES = tests/unit/test_ipc_message.c
tests_unit_test_ipc_message_CFLAGS = $(AM_CFLAGS) $(CMOCKA_CFLAGS)
tests_unit_test_ipc_message_LDADD = src/ipc/libipc.a src/plan/libplan.a src/model/libmodel.a src/base/libbase.a \
	$(CMOCKA_LIBS)
endif
