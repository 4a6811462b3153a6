# Unit tests of the module base: programs are added to check_PROGRAMS.
