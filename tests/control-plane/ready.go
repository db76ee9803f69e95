package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"time"

	etcdversion "go.etcd.io/etcd/api/v3/version"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"
)

// ready is the one line on standard output.
type ready struct {
	Ready      bool   `json:"ready"`
	Kubeconfig string `json:"kubeconfig"` // of an administrator
	Version    string `json:"version"`    // of Kubernetes
	Etcd       string `json:"etcd"`       // its version, or the name of the program in its place
	EtcdPid    string `json:"etcdPid"`    // the process that it runs in
	EtcdURL    string `json:"etcdUrl"`    // for its clients
	Data       string `json:"data"`       // the folder, to resume with
	Log        string `json:"log"`
	Audit      string `json:"audit,omitempty"` // the audit log, if asked for
}

func reportWhenReady(ctx context.Context, data *data, audit bool, etcdURL string, etcdPid int, store string) {
	for !isReady(ctx, data) {
		time.Sleep(20 * time.Millisecond)
	}
	report := ready{
		Ready:      true,
		Kubeconfig: data.path("kubeconfig"),
		Version:    version.Get().GitVersion,
		Etcd:       etcdversion.Version,
		EtcdPid:    strconv.Itoa(etcdPid),
		EtcdURL:    etcdURL,
		Data:       data.dir,
		Log:        data.path("log"),
	}
	if store != "" {
		report.Etcd = filepath.Base(store)
	}
	if audit {
		report.Audit = data.path("audit")
	}
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		fail(err)
	}
}

// isReady also checks the namespace default, which is created a moment after the server is ready.
func isReady(ctx context.Context, data *data) bool {
	config, err := clientcmd.BuildConfigFromFlags("", data.path("kubeconfig"))
	if err != nil {
		return false
	}
	// Read the file here, because clients share the content of a CA file that the first of them read. At that time the API
	// server may not have written all of it.
	if config.CAData, err = os.ReadFile(config.CAFile); err != nil {
		return false
	}
	config.CAFile = ""
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return false
	}
	if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
		return false
	}
	_, err = client.CoreV1().Namespaces().Get(ctx, "default", metav1.GetOptions{})
	return err == nil
}
