#include "portald/source.h"
