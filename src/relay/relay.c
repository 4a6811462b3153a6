#include "portald/relay.h"
