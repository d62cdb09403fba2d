// A scan and what was found in it, in three planes and as a volume.

// A script and no module: a page that was opened from the disk loads no modules.
(() => {
const WINDOWS = {
  "1": ["Lung", -1350, 150], "2": ["Soft tissue", -160, 240], "3": ["All", -1000, 400],
};
// What is drawn over the scan, with its colours (apart for people who see no green or no red) and the HU between which they lie.
const LAYERS = {
  lesions: { title: "Lesions", colormap: "red", opacity: 0.5, range: [0, 1] },
  lungs: { title: "Lungs", colormap: "blue", opacity: 0, range: [0, 1] },
  regions: { title: "Details", colormap: "warm", opacity: 0.5, range: [0, 1] },
  residual: {
    title: "Residual", colormap: "warm", negative: "winter", opacity: 0, range: [100, 1000],
  },
};

function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

// Draw the volumes of a study into a part of the page. Each has a name, and a url or a buffer of
// NIfTI. What comes back goes to a height in mm, and gives the memory of the picture back.
async function show(part, volumes) {
  const canvas = element("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("aria-label", "Scan in three planes; arrow keys go from slice to slice");
  const frame = element("div");
  frame.className = "frame";
  frame.append(canvas);
  const controls = element("div");
  controls.className = "controls";
  const place = element("p");
  place.className = "soft num";
  place.setAttribute("role", "status");
  part.replaceChildren(controls, frame, place);
  const { Niivue } = window.niivue;
  const names = volumes.map((one) => one.name);
  const viewer = new Niivue({
    dragAndDropEnabled: false, isRadiologicalConvention: true, backColor: [0, 0, 0, 1],
    isOrientCube: false, crosshairWidth: 0.5, crosshairColor: [0.9, 0.6, 0.1, 0.6], logLevel: "error",
    onLocationChange: (at) => {
      const [x, y, z] = at.mm;
      const hu = at.values && at.values.length ? `, ${Math.round(at.values[0].value)} HU` : "";
      place.textContent = `z = ${z.toFixed(0)} mm, x = ${x.toFixed(0)} mm, y = ${y.toFixed(0)} mm${hu}`;
    },
  });
  await viewer.attachToCanvas(canvas);
  const layers = Object.keys(LAYERS).filter((name) => names.includes(name));
  const add = (name, more) => {
    const { url, buffer } = volumes.find((one) => one.name === name);
    const file = `${name}.nii.gz`;
    return viewer.addVolumeFromUrl({ url: url || file, buffer, name: file, ...more });
  };
  await add("scan", { colormap: "gray", cal_min: -1350, cal_max: 150 });
  for (const name of layers) {
    const { colormap, negative, opacity, range } = LAYERS[name];
    await add(name, {
      colormap, opacity, cal_min: range[0], cal_max: range[1],
      ...(negative ? { colormapNegative: negative, cal_minNeg: -range[1], cal_maxNeg: -range[0] } : {}),
    });
  }
  const setWindow = (key) => {
    const [, low, high] = WINDOWS[key];
    viewer.volumes[0].cal_min = low;
    viewer.volumes[0].cal_max = high;
    viewer.updateGLVolume();
  };
  const choice = element("select");
  choice.setAttribute("aria-label", "Window");
  for (const [key, [title, low, high]] of Object.entries(WINDOWS)) {
    const option = element("option", `${key}: ${title} (${low} to ${high} HU)`);
    option.value = key;
    choice.append(option);
  }
  choice.addEventListener("change", () => setWindow(choice.value));
  const planes = element("select");
  planes.setAttribute("aria-label", "View");
  const views = { "All planes": "sliceTypeMultiplanar", Axial: "sliceTypeAxial",
    Coronal: "sliceTypeCoronal", Sagittal: "sliceTypeSagittal", "3D": "sliceTypeRender" };
  for (const [title, type] of Object.entries(views)) {
    const option = element("option", title);
    option.value = type;
    planes.append(option);
  }
  planes.addEventListener("change", () => viewer.setSliceType(viewer[planes.value]));
  controls.append(choice, planes);
  layers.forEach((name, number) => {
    const label = element("label", LAYERS[name].title);
    const range = element("input");
    Object.assign(range, { type: "range", min: 0, max: 1, step: 0.05, value: LAYERS[name].opacity });
    range.setAttribute("aria-label", `Opacity of ${LAYERS[name].title}`);
    range.addEventListener("input", () => viewer.setOpacity(number + 1, Number(range.value)));
    label.append(range);
    controls.append(label);
  });
  const steps = { ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1], ArrowLeft: [1, 0, 0],
    ArrowRight: [-1, 0, 0], PageUp: [0, 1, 0], PageDown: [0, -1, 0] };
  canvas.addEventListener("keydown", (event) => {
    if (event.key in WINDOWS) { choice.value = event.key; setWindow(event.key); }
    else if (event.key in steps) viewer.moveCrosshairInVox(...steps[event.key]);
    else return;
    event.preventDefault();
  });
  // Says where the cross is before it is moved.
  viewer.createOnLocationChange();
  part.dataset.volumes = String(viewer.volumes.length);
  return {
    go(z) {
      if (z === undefined) return;
      const [x, y] = viewer.frac2mm(viewer.scene.crosshairPos);
      viewer.scene.crosshairPos = viewer.mm2frac([x, y, z]);
      viewer.drawScene();
      viewer.createOnLocationChange();
      canvas.scrollIntoView({ block: "nearest" });
      canvas.focus({ preventScroll: true });
    },
    close() {
      viewer.gl?.getExtension("WEBGL_lose_context")?.loseContext();
      part.replaceChildren();
      delete part.dataset.volumes;
    },
  };
}

window.covidctnetViewer = { show };
})();
