// The page: hands a photograph to the worker, and shows what comes back. Nothing here talks to a server.
const byId = (id) => document.getElementById(id);
const worker = new Worker('worker.mjs', { type: 'module' });
let urls = [];
let job = 0; // of which an answer is awaited; earlier ones are dropped

function tell(text, isError = false) {
  byId('status').textContent = text;
  byId('status').classList.toggle('error', isError);
}

function show(before, after, name) {
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [URL.createObjectURL(before), URL.createObjectURL(after)];
  byId('before').src = urls[0];
  byId('after').src = urls[1];
  byId('save').href = urls[1];
  byId('save').download = `${name.replace(/\.[^.]*$/, '')}_color.png`;
  byId('result').hidden = false;
}

function start(file) {
  if (!file) return;
  job += 1;
  byId('result').hidden = true;
  tell('Loading the network ...');
  worker.postMessage({ job, file });
}

worker.addEventListener('message', ({ data }) => {
  if (data.job !== job) return;
  if (data.error) tell(data.error, true);
  else if (data.progress !== undefined) tell(`Colorizing ... ${Math.round(data.progress * 100)} %`);
  else {
    show(data.before, data.after, data.name);
    tell(`Done: ${data.width} x ${data.height} pixels in ${(data.milliseconds / 1000).toFixed(1)} s.`);
  }
});
worker.addEventListener('error', (event) => {
  event.preventDefault();
  tell(`This browser cannot run the network: ${event.message || 'it knows no module workers'}`, true);
});

byId('file').addEventListener('change', (event) => start(event.target.files[0]));
byId('slider').addEventListener('input', (event) => {
  byId('before').style.clipPath = `inset(0 ${event.target.value}% 0 0)`;
});
const drop = byId('drop');
for (const kind of ['dragover', 'dragleave', 'drop']) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle('over', kind === 'dragover');
    if (kind === 'drop') start(event.dataTransfer.files[0]);
  });
}
