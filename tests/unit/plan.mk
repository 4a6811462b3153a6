# Unit tests of the module plan: programs are added to check_PROGRAMS.
