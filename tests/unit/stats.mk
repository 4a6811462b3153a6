# Unit tests of the module stats: programs are added to check_PROGRAMS.
