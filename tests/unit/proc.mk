# Unit tests of the module proc: programs are added to check_PROGRAMS.
