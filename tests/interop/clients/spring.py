"""The page's Spring server, one process for each issuer it trusts."""

import os
import subprocess
import time
import urllib.error
import urllib.request

from issuer import free_port


class SpringModels:
    """`{issuer: URL}` in `urls`, while the `with` block lasts. Ends the processes it started, and no other."""

    def __init__(self, folder, classes, issuers):
        self.folder, self.classes, self.issuers = folder, classes, issuers
        self.processes, self.urls = [], {}

    def __enter__(self):
        try:
            for number, issuer in enumerate(self.issuers):
                port = free_port()
                with open(self.folder / f"{self.classes}-{number}.log", "wb") as log:
                    self.processes.append(subprocess.Popen(
                        ["java", "-XX:TieredStopAtLevel=1", "-cp", f"{self.classes}:libraries/*", "model.Model"],
                        cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                        env={**os.environ, "EDI_ISSUER": issuer, "SERVER_PORT": str(port),
                             "SERVER_ADDRESS": "127.0.0.1",
                             "SPRING_SECURITY_OAUTH2_RESOURCESERVER_JWT_ISSUER_URI": issuer}))
                self.urls[issuer] = f"http://127.0.0.1:{port}"
            for process, url in zip(self.processes, self.urls.values()):
                self.await_answer(process, url)
            return self
        except BaseException:
            self.__exit__()
            raise

    def await_answer(self, process, url):
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            try:
                urllib.request.urlopen(url, timeout=10).close()
            except urllib.error.HTTPError:  # it wants a token: it is up
                return
            except OSError:
                time.sleep(0.2)
        raise SystemExit(f"the Spring server did not start: see {self.folder}/{self.classes}-*.log")

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
