#include "portald/listen.h"
