#include "portald/stats.h"
