"""A stand-in for Hugging Face's hub on loopback: what huggingface_hub asks of it for one repository of models."""

import base64
import hashlib
import http.server
import json
import re
import threading


class HubServer(http.server.ThreadingHTTPServer):
    """Repositories in memory.

    Attributes:
        repositories: files by their paths, by 'organization/name'.
        requests: (method, path) of all that was asked for.
        uploads: large files that were put, by their SHA-256, before a commit names them.
    """

    def __init__(self):
        super().__init__(('127.0.0.1', 0), Handler)
        self.repositories, self.requests, self.uploads = {}, [], {}
        self.address = f'http://127.0.0.1:{self.server_port}'
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def commit_of(self, name):
        listing = sorted((path, hashlib.sha1(data).hexdigest()) for path, data in self.repositories[name].items())
        return hashlib.sha1(json.dumps(listing).encode()).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def answer(self, content, code=200, **headers):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        for key, value in {'Content-Length': str(len(data)), **headers}.items():
            self.send_header(key.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)

    def refuse(self, code, reason):
        self.answer({'error': reason}, code, X_Error_Code=reason, X_Error_Message=reason)

    def body(self):
        return self.rfile.read(int(self.headers.get('Content-Length') or 0))

    def do_GET(self):
        server, path = self.server, self.path.partition('?')[0]
        server.requests.append((self.command, path))
        found = re.fullmatch(r'/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?/?', path) or re.fullmatch(
            r'/([^/]+/[^/]+)/(resolve)/([^/]+)/(.+)', path
        )
        if not found:
            return self.refuse(404, 'NotFound')
        name, kind, revision = found.groups()[:3]
        if name not in server.repositories:
            return self.refuse(404, 'RepoNotFound')
        files, commit = server.repositories[name], server.commit_of(name)
        if revision not in (None, 'main', commit):
            return self.refuse(404, 'RevisionNotFound')
        if kind == 'tree':
            listed = ((each, data, hashlib.sha1(data).hexdigest()) for each, data in files.items())
            return self.answer([dict(type='file', path=each, size=len(data), oid=oid) for each, data, oid in listed])
        if kind != 'resolve':
            siblings = [dict(rfilename=each) for each in files]
            return self.answer(dict(id=name, modelId=name, sha=commit, private=False, tags=[], siblings=siblings))
        if found[4] not in files:
            return self.refuse(404, 'EntryNotFound')
        digest = hashlib.sha256(files[found[4]]).hexdigest()
        self.answer(files[found[4]], ETag=f'"{digest}"', X_Repo_Commit=commit)

    do_HEAD = do_GET

    def do_PUT(self):
        data = self.body()
        self.server.requests.append((self.command, self.path))
        self.server.uploads[hashlib.sha256(data).hexdigest()] = data
        self.answer({})

    def do_POST(self):
        server, path, body = self.server, self.path.partition('?')[0], self.body()
        server.requests.append((self.command, path))
        if path == '/api/repos/create':
            wanted = json.loads(body)
            name = f'{wanted["organization"]}/{wanted["name"]}'
            server.repositories.setdefault(name, {})
            return self.answer(dict(url=f'{server.address}/{name}', id=name))
        if path == '/api/validate-yaml':
            return self.answer(dict(errors=[], warnings=[]))
        if path.endswith('/preupload/main'):
            files = json.loads(body)['files']
            modes = [dict(path=f['path'], uploadMode=('regular', 'lfs')[f['path'].endswith('tensors')]) for f in files]
            return self.answer(dict(files=[dict(mode, shouldIgnore=False, oid=None) for mode in modes]))
        if path.endswith('/info/lfs/objects/batch'):
            objects = [
                dict(each, actions=dict(upload=dict(href=f'{server.address}/put/{each["oid"]}')))
                for each in json.loads(body)['objects']
            ]
            return self.answer(dict(transfer='basic', objects=objects))
        name = re.fullmatch(r'/api/models/([^/]+/[^/]+)/commit/main', path)[1]
        for line in body.splitlines():
            entry = json.loads(line)
            if entry['key'] == 'file':
                server.repositories[name][entry['value']['path']] = base64.b64decode(entry['value']['content'])
            elif entry['key'] == 'lfsFile':
                server.repositories[name][entry['value']['path']] = server.uploads[entry['value']['oid']]
        commit = server.commit_of(name)
        self.answer(dict(success=True, commitOid=commit, commitUrl=f'{server.address}/{name}/commit/{commit}'))
