// Colorizes photographs with the two files of `dualattn export photo`, away from the page, which so stays alive.
import * as ort from './runtime/ort.wasm.min.mjs';

const BAND_PIXELS = 1 << 18; // that are joined at a time
const MAX_PIXELS = 40e6; // a browser's memory holds no more
ort.env.wasm.wasmPaths = new URL('./runtime/', import.meta.url).href;
ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;

let sessions = null;
let last = Promise.resolve(); // jobs run one after the other: a session computes one thing at a time

async function openSessions() {
  const open = (name) => ort.InferenceSession.create(new URL(`./model/${name}`, import.meta.url).href);
  return { colors: await open('colors.onnx'), join: await open('join.onnx') };
}

async function readPixels(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: 'from-image', premultiplyAlpha: 'none' });
  } catch {
    throw new Error(`${file.name}: is no photograph that this browser reads.`);
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) {
    throw new Error(`${file.name}: has ${Math.round(width * height / 1e6)} megapixels; this page takes ${MAX_PIXELS / 1e6}.`);
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { canvas, context, image: context.getImageData(0, 0, width, height) };
}

function dropAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from];
    rgb[to++] = rgba[from + 1];
    rgb[to++] = rgba[from + 2];
  }
  return rgb;
}

async function colorize(job, file) {
  const start = performance.now();
  const { canvas, context, image } = await readPixels(file);
  sessions ??= openSessions();
  let opened;
  try {
    opened = await sessions;
  } catch (error) {
    sessions = null; // the next photograph tries again
    throw new Error(`The network cannot be loaded: ${error.message}`);
  }
  const { width, height } = image;
  const pixels = dropAlpha(image.data);
  self.postMessage({ job, progress: 0 });
  const { ab } = await opened.colors.run({ pixels: new ort.Tensor('uint8', pixels, [height, width, 3]) });
  const before = await canvas.convertToBlob({ type: 'image/png' });
  const columns = ab.dims[2];
  const rows = Math.max(1, Math.floor(BAND_PIXELS / width));
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    const { rgb } = await opened.join.run({
      pixels: new ort.Tensor('uint8', pixels.subarray(top * width * 3, (top + count) * width * 3), [count, width, 3]),
      ab: new ort.Tensor('float32', ab.data.subarray(top * 2 * columns, (top + count) * 2 * columns), [count, 2, columns]),
    });
    const colored = rgb.data;
    for (let from = 0, to = top * width * 4; from < colored.length; from += 3, to += 4) {
      image.data[to] = colored[from];
      image.data[to + 1] = colored[from + 1];
      image.data[to + 2] = colored[from + 2];
    }
    rgb.dispose();
    self.postMessage({ job, progress: 0.5 + 0.5 * (top + count) / height });
  }
  ab.dispose();
  context.putImageData(image, 0, 0);
  const after = await canvas.convertToBlob({ type: 'image/png' });
  const milliseconds = performance.now() - start;
  self.postMessage({ job, name: file.name, width, height, milliseconds, before, after });
}

self.addEventListener('message', ({ data: { job, file } }) => {
  last = last.then(() => colorize(job, file)).catch((error) => self.postMessage({ job, error: error.message }));
});
