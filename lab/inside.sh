#!/bin/sh
# What a guest does, as root, before and after the command. Everything that the command can see of the machine
# which runs the guest is mounted below /run, so that no path of that machine gets into a snapshot.
set -u
mkdir -p /run/vmprobe /run/out /run/lab/bin /run/lab/home
with="trans=virtio,version=9p2000.L,msize=512000"
# Tree and library do not change while a guest lives: a page cache halves the time that Python takes to start.
mount -t 9p -o "ro,cache=loose,$with" labtree /run/vmprobe || exit 1
mount -t 9p -o "rw,$with" labout /run/out || exit 1
plan=/run/out/.lab
. "$plan/plan"
exec >"$plan/setup" 2>&1

refuse() {
    echo "$*" >"$plan/refused"
    exit 1
}

mount --bind "$LAB_KERNEL/boot" /boot
mount -t 9p -o "ro,cache=loose,$with" lablib "$LAB_LIBRARY"

if [ "$LAB_DISK" = 1 ]; then
    # Blocks as large as pages: with smaller ones (the default of a small disk) a swap area may begin in the middle
    # of a page of its file, and its offsets are then no offsets of the file.
    modprobe virtio_blk && modprobe ext4 || refuse "no driver for the scratch disk"
    mkfs.ext4 -q -F -b 4096 /dev/vda && mkdir -p /run/scratch && mount /dev/vda /run/scratch || refuse "scratch disk"
    export LAB_SCRATCH=/run/scratch
fi

priority=100
for area in $LAB_SWAP; do
    size=${area#*:}
    case $area in
    zram:*)
        [ -e /sys/class/zram-control ] || modprobe zram num_devices=0 || refuse "no zram in this kernel"
        number=$(cat /sys/class/zram-control/hot_add)
        echo "$size" >"/sys/block/zram$number/disksize"
        target=/dev/zram$number
        ;;
    file:*)
        target=/run/scratch/swap$priority
        dd if=/dev/zero of="$target" bs=1M count=$((size >> 20)) conv=fsync && chmod 600 "$target"
        ;;
    esac
    mkswap "$target" && swapon -p "$priority" "$target" || refuse "swapon $target"
    priority=$((priority - 1))
done

if [ "$LAB_KSM" = 1 ]; then
    echo 2000 >/sys/kernel/mm/ksm/pages_to_scan
    echo 10 >/sys/kernel/mm/ksm/sleep_millisecs
    echo 1 >/sys/kernel/mm/ksm/run || refuse "no KSM in this kernel"
fi

have=$(sed -n 's/^HugePages_Total: *//p' /proc/meminfo)
[ "${have:-0}" -ge "$LAB_HUGEPAGES" ] || refuse "$LAB_HUGEPAGES huge pages asked for, ${have:-0} reserved"

for name in python python3 vmprobe; do
    module=
    [ $name = vmprobe ] && module="-m vmprobe"
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$LAB_PYTHON" "$module" >"/run/lab/bin/$name"
    chmod 755 "/run/lab/bin/$name"
done

# Memory is charged to a cgroup of the command's own, as that of a service is.
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/lab
echo $$ >/sys/fs/cgroup/lab/cgroup.procs
read -r up rest </proc/uptime
echo "$up" >"$plan/uptime"

cd /run/vmprobe || exit 1
env -i PATH="/run/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" HOME=/run/lab/home \
    LANG=C.UTF-8 PYTHONPATH="$LAB_PYTHONPATH" PYTHONDONTWRITEBYTECODE=1 LAB_OUT=/run/out LAB_TREE=/run/vmprobe \
    ${LAB_NUMPY:+NPY_DISABLE_CPU_FEATURES=$LAB_NUMPY} \
    ${LAB_SCRATCH:+LAB_SCRATCH=$LAB_SCRATCH} \
    sh "$plan/command" >"$plan/stdout" 2>"$plan/stderr" </dev/null
echo $? >"$plan/status"
