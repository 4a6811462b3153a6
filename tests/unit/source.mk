# Unit tests of the module source: programs are added to check_PROGRAMS.
