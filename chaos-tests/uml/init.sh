#!/bin/busybox sh
# First process of a user-mode kernel with pure cgroup v2. Starts a daemon and checks that limits are enforced.
# Given by the kernel command line: SHOAL_BIN, SHOAL_ROOTFS, SHOAL_DOCKER. Prints "ok NAME" or "not ok NAME: why" for each check.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# Applets of busybox, so that nothing depends on what the distribution has installed. The shell runs
# them as /proc/self/exe, which is the kernel's own program until the guest's /proc is mounted.
/bin/busybox mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev # the kernel may have done it
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run
mkdir -p /run/modules/lib/modules
ln -s "/usr/lib/uml/modules/$(uname -r)" "/run/modules/lib/modules/$(uname -r)"
for module in overlay veth bridge nf_tables nft_chain_nat nft_nat nft_masq nft_ct nft_fib_inet; do
  /sbin/modprobe -d /run/modules "$module" 2>/dev/null # not busybox's, which has no -d
done
ip link set lo up

finish() { sync; busybox poweroff -f; }
check() { # name, expected, got
  if [ "$2" = "$3" ]; then echo "ok $1"; else echo "not ok $1: expected '$2', got '$3'"; fi
}

# Long paths, so that the layers of few commits already need more than the page of options of this old kernel.
data=/run/$(head -c 200 /dev/zero | tr '\0' d)
"$SHOAL_BIN/shoald" --data-root "$data" --exec-root /run/shoal --host unix:///run/s.sock --pidfile /run/pid \
  --config-file /run/daemon.json --bridge none >/run/log 2>&1 &
export DOCKER_HOST=unix:///run/s.sock
tries=0
until [ -S /run/s.sock ]; do
  tries=$((tries + 1))
  [ "$tries" -gt 100 ] && { echo "not ok daemon: $(tail -n 5 /run/log)"; finish; }
  sleep 0.1
done
docker() { timeout 40 "$SHOAL_DOCKER" "$@"; }

docker import "$SHOAL_ROOTFS" busybox >/dev/null || { echo "not ok import: $(tail -n 5 /run/log)"; finish; }
check version 2 "$(docker info --format '{{.CgroupVersion}}')"

docker run --network none --name memory --memory 24m --memory-swap 24m busybox tail /dev/zero >/dev/null 2>&1
check memory "137 true" "$(docker inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' memory)"

throttled=$(docker run --rm --network none --cpus 0.2 busybox sh -c \
  'timeout 2 sh -c "while :; do :; done"; sed -n "s/^nr_throttled //p" /sys/fs/cgroup/cpu.stat' 2>/dev/null)
[ "${throttled:-0}" -gt 5 ] && throttled=often
check cpu often "$throttled"

forks=$(docker run --rm --network none --pids-limit 5 busybox sh -c \
  'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait; cat /sys/fs/cgroup/pids.max' 2>&1 | grep -c "can't fork")
[ "$forks" -gt 0 ] && forks=refused
check pids refused "$forks"

refused=$(docker run --rm --network none busybox sh -c 'mknod /disk b 98 0 && head -c 1 /disk' 2>&1)
check device-refused "head: /disk: Operation not permitted" "$refused"
check device-granted 1 "$(docker run --rm --network none --device /dev/ubda busybox sh -c 'head -c 1 /dev/ubda | wc -c')"

begin=$(cut -d. -f1 /proc/uptime)
docker run --rm --network none --device /dev/ubda --device-write-bps /dev/ubda:1mb busybox \
  dd if=/dev/zero of=/dev/ubda bs=1M count=4 oflag=direct >/dev/null 2>&1
took=$(($(cut -d. -f1 /proc/uptime) - begin))
[ "$took" -ge 3 ] && took=slowed
check io slowed "$took"

docker run -d --network none --name updated --memory 64m --memory-swap 64m busybox sleep 100 >/dev/null
docker update --memory 32m --memory-swap 32m updated >/dev/null
check update 33554432 "$(docker exec updated cat /sys/fs/cgroup/memory.max)"
docker pause updated >/dev/null
check pause paused "$(docker inspect -f '{{.State.Status}}' updated)"
docker unpause updated >/dev/null
docker rm -f updated memory >/dev/null
# The daemon's own views of layers: to fill a volume, and to copy from a container that does not run.
docker create --name view --network none -v /etc busybox cat /etc/passwd >/dev/null
check views "busybox root" "$(docker cp view:/bin/busybox - | tar -t) $(docker start -a view | head -n 1 | cut -d: -f1)"

made=busybox
for layer in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
  docker create --name "layer$layer" --network none "$made" sh -c 'cat /etc/hostname' >/dev/null
  made=$(docker commit "layer$layer")
done
check layers deep "$(docker run --rm --hostname deep --network none "$made" cat /etc/hostname 2>&1)"
docker rm $(docker ps -aq) >/dev/null

check cgroups-removed 0 "$(find /sys/fs/cgroup -mindepth 2 -type d | grep -c .)"
echo "ok end"
finish
