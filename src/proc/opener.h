/* Credential files in control, which has no right to open them: through the starter. */
#ifndef PROC_OPENER_H
#define PROC_OPENER_H

#include "portald/kubeconfig.h"

struct ipc_channel;

/* Opens through channel, which must outlive the opener. Waits for as long as the starter takes, which never
 * waits for anything but the disk. */
struct kubeconfig_opener opener_of(struct ipc_channel *channel);

/* No file can be opened from now on but those that were. Returns 0 or a negative errno: the starter is gone.
 */
int opener_close_list(struct ipc_channel *channel);

#endif
