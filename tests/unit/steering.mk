# Unit tests of the module steering: programs are added to check_PROGRAMS.
