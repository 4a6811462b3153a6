# Unit tests of the module listen: programs are added to check_PROGRAMS.
