# Unit tests of the module model: programs are added to check_PROGRAMS.
