package main

import (
	"context"
	"errors"
	"net"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
)

// serve runs the API server until the context ends. It does the same as the command of kube-apiserver, with two
// exceptions: it passes a listener that is already bound, and it does not handle signals.
func serve(ctx context.Context, data *data, etcd string, audit, coordinated bool) error {
	opts := options.NewServerRunOptions()
	flags := pflag.NewFlagSet("kube-apiserver", pflag.ContinueOnError)
	for _, set := range opts.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	args, err := arguments(data, etcd, audit, coordinated)
	if err != nil {
		return err
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	opts.SecureServing.Listener = data.listener
	opts.SecureServing.BindPort = data.listener.Addr().(*net.TCPAddr).Port

	if err := opts.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return err
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	completed, err := opts.Complete(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(completed.Validate()...); err != nil {
		return err
	}
	return app.Run(ctx, completed)
}

func arguments(data *data, etcd string, audit, coordinated bool) ([]string, error) {
	args := []string{
		"--etcd-servers=" + etcd,
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		// The default would write the address into an Endpoints object, which does not accept loopback addresses.
		"--endpoint-reconciler-type=none",
		"--service-cluster-ip-range=10.0.0.0/24",

		// The server generates its certificate in this folder. Its key also signs service account tokens.
		"--cert-dir=" + data.dir,
		"--service-account-key-file=" + data.path("apiserver.key"),
		"--service-account-signing-key-file=" + data.path("apiserver.key"),
		"--service-account-issuer=https://kubernetes.default.svc",

		"--token-auth-file=" + data.path("tokens"),
		"--authorization-mode=RBAC",
		// This plugin would make pods wait for service accounts, which no controller creates here.
		"--disable-admission-plugins=ServiceAccount",
	}
	if coordinated {
		args = append(args,
			"--feature-gates=CoordinatedLeaderElection=true",
			"--runtime-config=coordination.k8s.io/v1alpha2=true,coordination.k8s.io/v1beta1=true")
	}
	if !audit {
		return args, nil
	}
	err := data.write(map[string]string{"audit-policy": auditPolicy})
	return append(args, "--audit-policy-file="+data.path("audit-policy"), "--audit-log-path="+data.path("audit")), err
}

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
`
