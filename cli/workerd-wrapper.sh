#!/bin/sh
# Starts workerd for the launcher (through MINIFLARE_WORKERD_PATH):
# - notes its process id, which `exec` keeps, so that the next start can end it if it was orphaned;
# - on Linux, asks the kernel to kill it when the launcher dies, also by SIGKILL;
# - in a session of its own, so that Ctrl-C reaches the launcher alone, which stops it in order.
echo "$$" > "$PENNYPOST_WORKERD_PID_FILE" || exit 1
if command -v setpriv > /dev/null 2>&1 && command -v setsid > /dev/null 2>&1; then
  exec setsid setpriv --pdeathsig KILL -- "$PENNYPOST_WORKERD" "$@"
fi
exec "$PENNYPOST_WORKERD" "$@"
