sbin_PROGRAMS += portald
portald_SOURCES = src/main.c
