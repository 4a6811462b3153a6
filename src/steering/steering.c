#include "portald/steering.h"
