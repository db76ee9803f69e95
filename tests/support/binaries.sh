# Runs the programs `etcd` and `kube-apiserver` in $KUBEBUILDER_ASSETS, with the same interface as ../control-plane: the
# same flags, and the same line of JSON (but printed before the server is ready). When standard input closes, both
# programs end and the folder is removed.
set -eu

data='' audit='' coordinated=''
while [ $# -gt 0 ]; do
    case $1 in
        --resume) data=$2; shift ;;
        --audit) audit=yes ;;
        --coordinated) coordinated=yes ;;
        --separate-etcd) ;; # etcd always is a separate process here.
    esac
    shift
done

if [ -z "$data" ]; then
    data=$(mktemp -d)
    token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "$API_PORT" >"$data/port"
    echo "$token,admin,admin,\"system:masters\"" >"$data/tokens"
    cat >"$data/kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: test
contexts: [{name: test, context: {cluster: test, user: admin}}]
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$API_PORT", certificate-authority: apiserver.crt}}]
users: [{name: admin, user: {token: "$token"}}]
END
fi

# For the purpose of each flag see ../control-plane.
"$KUBEBUILDER_ASSETS/etcd" --data-dir="$data/etcd" --unsafe-no-fsync --heartbeat-interval=10 --election-timeout=100 \
    --listen-client-urls="http://127.0.0.1:$ETCD_PORT" --advertise-client-urls="http://127.0.0.1:$ETCD_PORT" \
    --listen-peer-urls=http://127.0.0.1:0 </dev/null >>"$data/log" 2>&1 &
programs=$! etcd_pid=$!

set -- --etcd-servers="http://127.0.0.1:$ETCD_PORT" \
    --bind-address=127.0.0.1 --advertise-address=127.0.0.1 --secure-port="$(cat "$data/port")" \
    --endpoint-reconciler-type=none --service-cluster-ip-range=10.0.0.0/24 \
    --cert-dir="$data" --service-account-key-file="$data/apiserver.key" \
    --service-account-signing-key-file="$data/apiserver.key" --service-account-issuer=https://kubernetes.default.svc \
    --token-auth-file="$data/tokens" --authorization-mode=RBAC --disable-admission-plugins=ServiceAccount
if [ "$coordinated" ]; then
    set -- "$@" --feature-gates=CoordinatedLeaderElection=true \
        --runtime-config=coordination.k8s.io/v1alpha2=true,coordination.k8s.io/v1beta1=true
fi
if [ "$audit" ]; then
    cat >"$data/audit-policy" <<END
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
END
    set -- "$@" --audit-policy-file="$data/audit-policy" --audit-log-path="$data/audit"
fi
"$KUBEBUILDER_ASSETS/kube-apiserver" "$@" </dev/null >>"$data/log" 2>&1 &
programs="$programs $!"

end() {
    kill -s KILL $programs 2>/dev/null || true
    wait
    rm -rf "$data"
}

# The kubeconfig is useful only when the certificate exists. The key is written after the certificate.
until [ -s "$data/apiserver.key" ]; do
    if ! kill -s 0 $! 2>/dev/null; then
        tail -n 20 "$data/log" >&2
        end
        exit 1
    fi
    sleep 0.1
done

version=$("$KUBEBUILDER_ASSETS/kube-apiserver" --version)
etcd=$("$KUBEBUILDER_ASSETS/etcd" --version | head -n 1)
echo "{\"ready\":true,\"kubeconfig\":\"$data/kubeconfig\",\"version\":\"${version#Kubernetes }\"," \
    "\"etcd\":\"${etcd#etcd Version: }\",\"etcdPid\":\"$etcd_pid\",\"etcdUrl\":\"http://127.0.0.1:$ETCD_PORT\"," \
    "\"data\":\"$data\",\"log\":\"$data/log\"${audit:+,\"audit\":\"$data/audit\"}}"

cat >/dev/null
end
