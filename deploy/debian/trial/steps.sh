#!/bin/bash
# What is tried with the package on a bare Debian: each step is a sentence; the first that fails ends
# it. /root/trial/one.deb is installed, two.deb is its next revision.
set -u
cd /root/trial
export DEBIAN_FRONTEND=noninteractive
fail() { echo "FAILED: $*"; systemctl status --no-pager --full cgn.service; journalctl --no-pager -u cgn.service | tail -n 60; exit 1; }
step() { local sentence=$1; shift; "$@" >step.log 2>&1 || { cat step.log; fail "$sentence"; }; echo "passed: $sentence"; }
eventually() { for _ in $(seq 300); do "$@" && return 0; sleep 0.1; done; return 1; }

pid() { systemctl show --property=MainPID --value cgn.service; }
is() { [ "$(systemctl is-active "$1")" = "$2" ]; }
# Field of /proc/PID/status, of the main thread.
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(pid)/status"; }
answers() { [ "$(wc -l <seen)" -ge 1 ] && [ "$(tail -n 1 seen)" != lost ]; }
# All answers so far were of one external address and port, and none was lost.
steady() { answers && [ "$(wc -l <seen)" = 1 ]; }

links() {
    mkdir -p /sys/fs/bpf
    mount -t bpf bpf /sys/fs/bpf
    for name in homes internet; do ip netns add "$name"; done
    ip link add name inside type veth peer name wire netns homes
    ip link add name outside type veth peer name wire netns internet
    for device in inside outside; do
        ip link set dev "$device" up
        ethtool -K "$device" tx off tso off gso off gro on
    done
    for name in homes internet; do
        ip -n "$name" link set dev lo up
        ip -n "$name" link set dev wire up
        ip netns exec "$name" ethtool -K wire tx off tso off gso off gro on
    done
    ip addr add 100.64.0.1/24 dev inside
    ip addr add 198.51.100.1/24 dev outside
    ip route add default via 198.51.100.2
    ip -n homes addr add 100.64.0.2/24 dev wire
    ip -n homes route add default via 100.64.0.1
    ip -n internet addr add 198.51.100.2/24 dev wire
    ip -n internet route add 203.0.113.0/28 via 198.51.100.1
}

configure() {
    cat >/etc/cgn/cgn.toml <<END
[inside]
interface = "inside"
[outside]
interface = "outside"
[[pool]]
name = "homes"
addresses = ["203.0.113.0/28"]
[[subscribers]]
prefixes = ["100.64.0.0/24"]
pool = "homes"
END
    cgn check --config /etc/cgn/cgn.toml
}

talk() {
    : >seen
    ip netns exec internet python3 talk.py server 198.51.100.2 7000 &
    ip netns exec homes python3 talk.py client 198.51.100.2 7000 seen &
}

confined() {
    # BPF, PERFMON, IPC_LOCK, NET_ADMIN, NET_RAW, SYS_ADMIN, SYS_RESOURCE: bits 39 38 14 12 13 21 24.
    local allowed=$(( (1<<39) | (1<<38) | (1<<14) | (1<<12) | (1<<13) | (1<<21) | (1<<24) ))
    echo "CapBnd $(field CapBnd) CapPrm $(field CapPrm) Seccomp $(field Seccomp) NoNewPrivs $(field NoNewPrivs)"
    [ $(( 0x$(field CapBnd) & ~allowed )) = 0 ] && [ $(( 0x$(field CapPrm) & ~allowed )) = 0 ] &&
        [ "$(field Seccomp)" = 2 ] && [ "$(field NoNewPrivs)" = 1 ]
}

reload() {
    local before; before=$(pid)
    sed -i '1i [timeouts]\nudp_secs = 301' /etc/cgn/cgn.toml
    systemctl reload cgn.service && [ "$(pid)" = "$before" ] && journalctl -u cgn.service | grep -q ready
}

upgrade() {
    local before; before=$(pid)
    dpkg --install two.deb && [ "$(pid)" != "$before" ] && is cgn.service active &&
        [ "$(dpkg-query --show --showformat='${Version}' cgn)" != "$installed" ]
}

killed() {
    local before; before=$(pid)
    kill -KILL "$before"
    eventually eval "[ \"\$(pid)\" != 0 ] && [ \"\$(pid)\" != $before ] && is cgn.service active"
}

# What an operator looks for beside the program.
packed() {
    local here=/usr/share/doc/cgn file
    cgn check --no-interfaces --config $here/examples/cgn.toml || return 1
    for file in $here/{README.md,changelog.gz,copyright,docs/operate/deploy.md,docs/rfc.md.gz} \
        $here/examples/{grafana/cgn.json,prometheus/alerts.yml,clickhouse/mapping_log.sql} \
        /usr/share/bash-completion/completions/cgn /usr/share/zsh/vendor-completions/_cgn \
        /usr/share/fish/vendor_completions.d/cgn.fish /lib/systemd/system/cgn{,-announce}.service; do
        [ -s "$file" ] || { echo "no $file"; return 1; }
    done
}

# Both kinds of socket that mirrors send by must be among what the unit allows.
mirrored() {
    ip link add name tap type veth peer name tapped
    ip link set dev tap up
    ip link set dev tapped up
    cat >>/etc/cgn/cgn.toml <<END
[[mirror]]
name = "by-interface"
to = "interface"
interface = "tap"
[[mirror]]
name = "by-collector"
to = "gre"
collector = "198.51.100.2"
END
    systemctl reload cgn.service && eventually copied && ip -statistics link show dev tapped
}
copied() { [ "$(cgn show mirrors --csv | grep -c ',[1-9][0-9]*,on,')" = 2 ]; }

# What asks whether the clock is right must be among the system calls that it may do.
clock_asked() { ! journalctl -u cgn.service | grep "does not tell whether the system's clock"; }

tidy() {
    local left=""
    for path in /usr/bin/cgn /etc/cgn /run/cgn /sys/fs/bpf/cgn /lib/systemd/system/cgn.service /usr/share/doc/cgn; do
        [ -e "$path" ] && left="$left $path"
    done
    pgrep_cgn=$(grep -ls '^cgn$' /proc/[0-9]*/comm)
    xdp=$(ip -details link | grep prog/xdp)
    echo "left: $left; processes: $pgrep_cgn; programs: $xdp"
    [ -z "$left$pgrep_cgn$xdp" ] && [ -d /var/lib/cgn/log ]
}

step "the package installs on a bare Debian" dpkg --install one.deb
installed=$(dpkg-query --show --showformat='${Version}' cgn)
step "nothing runs before there is a configuration" is cgn.service inactive
step "a start without one fails, and says so" bash -c '! systemctl start cgn.service && journalctl -u cgn.service | grep -q cgn.toml'
step "there is a manual page for each command" bash -c 'for page in cgn cgn-run cgn-show cgn-reload cgn-log-who cgn-report; do man --where $page || exit 1; done'
step "sample, completions, units, dashboard and alerts are there" packed
step "bash completes the command" bash -c '. /usr/share/bash-completion/completions/cgn && complete -p cgn'
step "links between namespaces" links
step "cgn check takes the configuration" configure
step "systemd is told that it is ready" systemctl start cgn.service
talk
step "a subscriber is answered" eventually answers
step "the process is confined: capabilities, system calls, no new privileges" confined; cat step.log
step "systemctl reload changes a timer in the same process" reload
step "... and no answer was lost" steady
step "systemctl restart" systemctl restart cgn.service
step "... and no answer was lost" steady
step "an upgrade restarts it" upgrade
step "... and no answer was lost" steady
step "systemd starts it again after SIGKILL" killed
step "... and no answer was lost" steady
step "mirrors reach an interface and a collector" mirrored
step "... and no answer was lost" steady
step "the kernel says whether its clock is right" clock_asked
step "cgn show subscribers knows the subscriber" bash -c 'cgn show subscribers | grep -q 100.64.0.2'
step "the exposure that systemd sees is below 5 of 10" bash -c 'systemd-analyze security --threshold=50 --no-pager cgn.service | tail -n 1'
cat step.log
step "a purge" dpkg --purge cgn
step "... leaves nothing but the mapping log" tidy
echo "all steps passed"
