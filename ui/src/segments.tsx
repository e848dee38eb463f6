// A choice of one among a few, as a row of buttons.

export function Segments(properties: {
  label: string;
  options: [string, string][];
  value: string;
  choose: (value: string) => void;
}) {
  const { label, options, value, choose } = properties;
  const chosen = Math.max(
    0,
    options.findIndex(([, key]) => key === value),
  );
  const move = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const next = options[(chosen + step + options.length) % options.length];
    if (!next) return;
    choose(next[1]);
    const buttons = (event.currentTarget as HTMLElement).querySelectorAll("button");
    buttons[options.indexOf(next)]?.focus();
  };
  return (
    <div class="seg" role="radiogroup" aria-label={label} onKeyDown={move}>
      {options.map(([name, key], index) => (
        // biome-ignore lint/a11y/useSemanticElements: radio inputs cannot be laid out as segments without hiding them
        <button
          key={key}
          type="button"
          role="radio"
          aria-checked={key === value}
          tabIndex={index === chosen ? 0 : -1}
          onClick={() => choose(key)}
        >
          {name}
        </button>
      ))}
    </div>
  );
}
