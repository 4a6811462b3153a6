#include "portald/plan.h"
