#include "portald/proc.h"

int main(int argc, char **argv)
{
	return proc_main(argc, argv);
}
