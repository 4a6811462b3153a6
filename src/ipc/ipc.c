#include "portald/ipc.h"
