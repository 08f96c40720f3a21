#!/bin/busybox sh
# First process of the test machine: mounts, modules, every program of /run-list, power off.
# What is judged goes to the second serial line, where the kernel writes nothing.
B=/bin/busybox
$B mkdir -p /proc /sys /dev /tmp /run /etc /root /var/lib /sbin /usr/bin
$B --install -s /bin
export PATH=/bin:/usr/bin:/sbin HOME=/root TMPDIR=/tmp RUST_BACKTRACE=0
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t securityfs security /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# `lines` is from the kernel's command line.
exec </dev/null >"$lines" 2>&1
stty -onlcr -F "$lines"
echo "VM-START $(uname -r)"
for module in $(cat /modules/order); do
    insmod "/modules/$module" || echo "BROKEN	the module $module cannot be loaded"
done
echo "root:x:0:0:root:/root:/bin/sh" >/etc/passwd
echo "root:x:0:" >/etc/group
echo "127.0.0.1 localhost" >/etc/hosts
echo guest >/etc/hostname
echo secret >/etc/secret
ip link set lo up
# busybox cannot name the other end, which the kernel then calls veth0.
ip link add outer type veth && ip link set outer up && ip link set veth0 up

hooks() {
    rampart-hooks veth0
    echo "END	hooks	$?"
}

tests() {
    # Also what those that passed have written: that a test was skipped.
    "/bin/tests/$1" --test-threads=1 --show-output
    echo "END	$1	$?"
}

agent() {
    rampart doctor -c /agent.yaml
    echo "END	doctor	$?"
    rampart run -c /agent.yaml -r /agent.rules.yaml -o json >/tmp/alerts 2>/tmp/log &
    pid=$!
    tries=0
    until wget -q -O /dev/null http://127.0.0.1:8765/ready 2>/dev/null; do
        tries=$((tries + 1))
        if [ $tries -gt 900 ] || ! kill -0 $pid 2>/dev/null; then
            break
        fi
        sleep 0.2
    done
    if kill -0 $pid 2>/dev/null; then
        # By full paths: a shell that is busybox runs its own programs for names.
        /bin/cat /etc/secret >/dev/null
        /bin/true
        /bin/nc 127.0.0.1 8765 </dev/null >/dev/null
        [ ! -x /bin/busybox32 ] || /bin/busybox32 cat /etc/secret >/dev/null
        tries=0
        until [ "$(grep -c '"rule":' /tmp/alerts)" -ge "$(cat /alerts-wanted)" ]; do
            tries=$((tries + 1))
            [ $tries -gt 150 ] && break
            sleep 0.2
        done
        kill -TERM $pid
    fi
    wait $pid
    echo "END	agent	$?"
    sed 's/^/ALERT	/' /tmp/alerts
    sed 's/^/AGENT-LOG	/' /tmp/log
}

while read -r what which; do
    echo "BEGIN	$what $which	$(cut -d' ' -f1 /proc/uptime)"
    $what $which
done </run-list
echo "VM-END $(cut -d' ' -f1 /proc/uptime)"
sync
sleep 0.5
poweroff -f
