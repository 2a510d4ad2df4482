// Every film is one sheet of frames behind a window; a slider moves the sheet, paths and chart.
for (const film of document.querySelectorAll(".film")) {
  const { count, columns, dt, span, left, right } = Object.fromEntries(
    Object.entries(film.dataset).map(([name, text]) => [name, Number(text)]));
  const [sheet, slider, button, time] = ["img", "input", "button", "output"].map((name) => film.querySelector(name));
  const now = film.querySelector(".now"), fans = film.querySelectorAll("[data-first]");
  let playing = null;
  const show = (step) => {
    slider.value = step;
    sheet.style.left = `${-100 * (step % columns)}%`;
    sheet.style.top = `${-100 * Math.floor(step / columns)}%`;
    time.value = `step ${step}, ${(step * dt).toFixed(2)} s`;
    now.style.left = `${100 * (left + (right - left) * step * dt / span)}%`;
    for (const fan of fans) fan.style.display = fan.dataset.first <= step && step <= fan.dataset.last ? "" : "none";
  };
  const stop = () => { clearInterval(playing); playing = null; button.textContent = "Play"; };
  const next = () => Number(slider.value) < count - 1 ? show(Number(slider.value) + 1) : stop();
  button.addEventListener("click", () => {
    if (playing) return stop();
    if (Number(slider.value) === count - 1) show(0);
    playing = setInterval(next, Math.max(40, 1000 * dt));
    button.textContent = "Pause";
  });
  slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
  show(0);
}
