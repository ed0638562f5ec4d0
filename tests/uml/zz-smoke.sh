. ./lib.sh
set -x
Y="python3 /kit/kernel/src/tools/net/ynl/pyynl/cli.py --spec /src/module/uapi/vnet.yaml --no-schema"
load
hosts 2
for h in h1 h2; do
on $h $Y --do net-new --json '{"id":"00000000000000000000000000000005"}'
ip -n $h link add vnbr0005 type bridge stp_state 0 forward_delay 0
ip -n $h link set vnif0005 master vnbr0005
ip -n $h link set vnif0005 up
ip -n $h link set vnbr0005 up
done
on h1 $Y --do host-get --json '{}'
ip -n h1 -d link show vnif0005
vm a1 h1 0005 10.0.0.1 02:00:00:00:00:01
vm a2 h2 0005 10.0.0.2 02:00:00:00:00:02
on a1 ping -c 3 10.0.0.2
on a1 ping -c 1 -s 1400 10.0.0.2
on h1 $Y --dump net-get
on h1 $Y --dump varp-get --json '{"net":"00000000000000000000000000000005"}'
on h1 $Y --dump vif-get --json '{"net":"00000000000000000000000000000005"}'
on a2 iperf3 -s -D
sleep 1
on a1 iperf3 -c 10.0.0.2 -t 3
on h1 $Y --do net-get --json '{"id":"00000000000000000000000000000005"}'
ip -n h1 link del vnif0005
on h1 $Y --dump net-get
ok done
