/* Network interfaces of this node. */
#ifndef PROC_INTERFACES_H
#define PROC_INTERFACES_H

#include <stdbool.h>

/* True in *lacking if an interface that packets may enter by has no IPv4 address, as the host's end of a
 * pod's link in a routed pod network. (Ports of bridges don't count: packets enter by the bridge.) Asks the
 * kernel and nothing else, so it doesn't wait. Returns 0 or a negative errno. */
int interfaces_lack_address(bool *lacking);

#endif
