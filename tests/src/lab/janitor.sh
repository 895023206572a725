# Removes what a laboratory made, when its process says so or has died: standard input ends then.
# Each line of it is "KIND NAME", told before the thing is made, or "setting FILE VALUE".
trap '' INT TERM HUP
while read -r kind name; do
    case $kind in
        namespace) namespaces="$name $namespaces" ;;
        folder) folders="$name $folders" ;;
        mount) mounts="$name $mounts" ;;
        setting) settings="$name $settings" ;;
    esac
done
processes() {
    # Every process in a namespace of ours was started by us.
    for namespace in $namespaces; do ip netns pids "$namespace" 2>/dev/null; done
}
for signal in TERM KILL; do
    waited=0
    while [ "$waited" -lt 50 ]; do
        pids=$(processes | tr '\n' ' ')
        [ -n "$pids" ] || break 2
        [ "$waited" -gt 0 ] || kill -s "$signal" $pids 2>/dev/null
        waited=$((waited + 1))
        sleep 0.1
    done
done
for namespace in $namespaces; do
    [ ! -e "/run/netns/$namespace" ] || ip netns delete "$namespace"
done
for mount in $mounts; do
    ! mountpoint -q "$mount" || umount "$mount"
done
for folder in $folders; do
    rm -rf "$folder"
done
# The last change first.
set -- $settings
while [ "$#" -ge 2 ]; do
    echo "$2" >"$1"
    shift 2
done
