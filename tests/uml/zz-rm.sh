. ./lib.sh
hosts 1
load
t() { local a=$(date +%s%N); "$@"; echo "$(( ($(date +%s%N)-a)/1000000 )) ms: $*" | cut -c1-60; }
mk() { for i in $(seq 16 315); do $VN -n h1 net create $(printf %x $i); done; }
mkx() { for i in $(seq 16 315); do echo "link add vx$i type vxlan id $i group 239.1.1.1 dev eth0 dstport 4789"; echo "link set vx$i up"; done | ip -n h1 -b -; }
t mk
ip -n h1 link show vnif0010
t rmmod vnet
t mkx
t ip -n h1 link del vx16
zcat /proc/config.gz 2>/dev/null | head -1
t ip netns del h1
load; hosts() { :; }
ns h1
ok x
