# Unit tests of the module relay: programs are added to check_PROGRAMS.
