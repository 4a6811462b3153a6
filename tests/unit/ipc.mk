# Unit tests of the module ipc: programs are added to check_PROGRAMS.
